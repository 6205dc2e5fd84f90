# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""Object storage and ranged downloads, shared with the node pack as a verified copy.

Every module here needs the standard library alone (boto3 inside the functions that use it),
imports its neighbours relatively and runs on Python 3.10, so that `services/comfy/cloud-storage`
can carry the same files and work without comfykiln.
"""
