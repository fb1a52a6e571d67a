"""From compute to plans, from plans to runs, from runs to one table. Does not know how a law is fitted."""
