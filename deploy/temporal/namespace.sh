#!/bin/sh
# Creates the namespace of the deals where it does not exist yet. The server comes from TEMPORAL_ADDRESS.
set -eu

namespace="${TEMPORAL_NAMESPACE:?}"

# The server accepts connections a little before it answers.
attempts=60
until temporal operator cluster health >/dev/null 2>&1; do
    attempts=$((attempts - 1))
    [ "$attempts" -gt 0 ] || { echo "Temporal at $TEMPORAL_ADDRESS does not become healthy" >&2; exit 1; }
    sleep 1
done

temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$namespace" --retention "${TEMPORAL_RETENTION:?}"
