"""Where a server keeps bytes: the contract, and the engines that keep it."""
