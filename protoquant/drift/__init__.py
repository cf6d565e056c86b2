"""Drift in use: do new images hold the parts that the training images held?"""
