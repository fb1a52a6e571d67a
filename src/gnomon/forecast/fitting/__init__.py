"""How a law is fitted: variable projection, Newton steps to the bottom, robust losses, bootstraps.

projection and newton serve laws whose coefficients are linear; gauss_newton serves curves and tasks, whose constants
are free real numbers.
"""
