# Besides reading them: adding a key. The path's metadata require check-and-set and are out of reach,
# as are deleting and destroying, so that a key is never lost by a mistake.
path "deal/data/deal-codec/keys" {
  capabilities = ["create", "read", "update"]
}
