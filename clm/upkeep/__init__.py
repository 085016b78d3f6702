"""What keeps a server going: room on the disks, one instance at a time, and what stops the learning."""
