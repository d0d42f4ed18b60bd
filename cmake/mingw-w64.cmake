# Toolchain: builds Windows x64 programs on Linux with MinGW-w64, and runs them under Wine.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)

# Debian has two of each, and the plain name may mean the win32 thread model, which on GCC 12 has no std::thread.
# Elsewhere there is the plain name only.
find_program(IOCP_MINGW_COMPILER NAMES x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++)
if(IOCP_MINGW_COMPILER)
    execute_process(COMMAND "${IOCP_MINGW_COMPILER}" -v ERROR_VARIABLE IOCP_MINGW_ABOUT)
endif()
if(NOT IOCP_MINGW_ABOUT MATCHES "Thread model: posix")
    message(FATAL_ERROR "These are Windows programs, and there is no x86_64-w64-mingw32-g++ with the thread model posix "
                        "here to build them with; on Debian and Ubuntu, scripts/setup-linux.sh installs it.")
endif()
string(REPLACE g++ gcc CMAKE_C_COMPILER "${IOCP_MINGW_COMPILER}")
set(CMAKE_CXX_COMPILER "${IOCP_MINGW_COMPILER}")
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)

# Libraries and headers of Linux are of no use to a Windows program.
set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/run-under-wine.sh")
