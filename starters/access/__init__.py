"""Who asks: credentials checked, people and services looked up, and looked after."""
