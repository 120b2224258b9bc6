"""Running a deal dry for somebody who asks."""
