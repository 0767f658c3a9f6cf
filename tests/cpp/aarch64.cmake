# SPDX-License-Identifier: Apache-2.0
# Cross-compilation for 64-bit Arm with Debian's g++-aarch64-linux-gnu; the result runs under qemu-aarch64.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
