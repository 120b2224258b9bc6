"""The protocols a deal uses: how to read them and how to call them."""
