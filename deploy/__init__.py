"""What a deployment needs beside the packages: chains, profiles, images, dashboards."""
