"""The program that runs inside a build step: standard library only, argument lists, no shell.

Each step reads one JSON plan or lock, does one row of the image, judges the result by what is on
disk, and seals the tree so that equal content gives an equal layer digest everywhere.
"""
