"""Real verbs: what runs where a device is, such as the virtual machine of `make test-rdma`."""
