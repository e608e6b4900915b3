"""How a step is measured: time on device and host, memory, launches, and what the machine can do at best."""
