"""Other runtimes for the parts of a model, and the choice between them."""
