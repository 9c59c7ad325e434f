# Cross-compiling for 64-bit ARM with Debian's crossbuild-essential-arm64; tests run under qemu-user.
# Headers of the host's packages are not on the cross compiler's path, and /usr/include as a whole must not
# be: give LIGHTCAP_HEADERS_DIR a folder with links to the few that are needed (scripts/test makes one).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
