"""What holds in every recipe: a network's classes measured by each other alone.

The class evidence of `classes/` knows what is usual in the population that it learned from. Of a network that somebody
else made it knows the wrong things: statistics that rise at a target under one recipe fall under the next. Here those
that rose in all recipes looked at are believed more than the others, and what is unusual either way counts too.
"""
