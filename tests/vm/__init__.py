"""Virtual machines with Debian's kernels, in which commands of this tree run: see docs/vm.md."""
