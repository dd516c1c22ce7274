"""The one reader of component recipes, `recipe.read`: checks, embedded Greengrass and virtual core device use it."""
