# What every process of ours may do in Vault for the payload codec: read its keys. `deploy/vault/setup-codec`
# writes it, with the name "deal-codec" replaced where another one was chosen.
path "deal/data/deal-codec/keys" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}
