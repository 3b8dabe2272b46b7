"""The commands, one module each: `commands/NAME.py` holds the click command NAME.

They say what can be asked; what is done stands in the modules beside this folder, which a command imports when it runs.
"""
