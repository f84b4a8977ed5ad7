"""What leaves the project: a trained model as one file for other runtimes, features as a plain HDF5 file."""
