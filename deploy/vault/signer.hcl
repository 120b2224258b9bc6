# What the signer may do in Vault, and nothing besides. `deploy/vault/setup` writes it, with the name
# "deal-signer" replaced where another one was chosen.

# The seeds as they are kept: encrypted. Every write is a check-and-set, because the path's metadata
# require it, and those are out of reach, as are deleting and destroying.
path "deal/data/deal-signer/seed" {
  capabilities = ["create", "read", "update"]
}

# Not "create": on these paths that would make a missing key, with other properties.
path "transit/encrypt/deal-signer" {
  capabilities = ["update"]
}

path "transit/decrypt/deal-signer" {
  capabilities = ["update"]
}

# Rotation of the wrapping key: a new version, everything encrypted under it, older versions retired.
path "transit/keys/deal-signer/rotate" {
  capabilities = ["update"]
}

path "transit/rewrap/deal-signer" {
  capabilities = ["update"]
}

path "transit/keys/deal-signer/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
  }
}

# Its own token, since it does not have the default policy.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}
