"""Run code that a model wrote, on Linux, without docker: a fork server, kernel filters, and a judge it cannot reach."""
