"""Exports of models trained on real features. A package, so that its `conftest` is not taken for the other one."""
