"""Admission of deals by the policy, and their approvals by the desk."""
