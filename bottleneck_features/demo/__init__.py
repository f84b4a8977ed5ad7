"""The whole job on photographs that come with scikit-image: which surface is it?"""
