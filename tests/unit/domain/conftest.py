"""Settings of the property tests."""

from hypothesis import HealthCheck, settings

# Correctness only: on a busy machine an example may take any time.
settings.register_profile(
    "domain", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("domain")
