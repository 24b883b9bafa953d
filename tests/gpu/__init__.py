"""What only a machine with a GPU can show; scripts, since such machines run no CI of ours."""
