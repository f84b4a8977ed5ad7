"""The whole job on photographs that come along: which surface is it?"""
