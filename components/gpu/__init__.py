"""What makes GPUs schedulable; nothing of the engines that use them."""
