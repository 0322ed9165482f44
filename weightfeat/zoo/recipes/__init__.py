"""Cheap networks of many recipes: what is trained on, how, and how it is poisoned are factors of a design.

Round 2's zoo holds one recipe. What a detector learns from one recipe it may have to unlearn in the next, so these
networks differ in everything that people differ in: images, classes, architecture, training, poison, and what makes a
clean network look trojaned. `factors` says what is drawn; the other modules do what it says.
"""
