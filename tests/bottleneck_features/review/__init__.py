"""Tests of the page to label on."""
