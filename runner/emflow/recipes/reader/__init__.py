"""The one reader of component recipes, `recipe.read`: of checks, the embedded Greengrass and the virtual core device."""
