"""Exports of models trained on real features of nano. (A package, so that its `conftest` is not taken for the other.)"""
