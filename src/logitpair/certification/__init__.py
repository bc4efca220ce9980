"""Lower bounds on robust accuracy: which images no perturbation within a threat model can make misclassified."""
