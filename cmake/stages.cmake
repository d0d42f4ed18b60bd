# add_stage(), and the settings that all programs here share. Include it before project(): on Linux it picks the
# compiler, so that `cmake -S 03-recv -B build/03-recv` is enough there too.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH IOCP_ROOT)

if(CMAKE_HOST_UNIX AND NOT CMAKE_TOOLCHAIN_FILE AND NOT DEFINED ENV{CMAKE_TOOLCHAIN_FILE})
    find_program(IOCP_MINGW_COMPILER x86_64-w64-mingw32-g++-posix)
    if(NOT IOCP_MINGW_COMPILER)
        message(FATAL_ERROR "These are Windows programs, and there is no x86_64-w64-mingw32-g++-posix here to build "
                            "them with. On Debian and Ubuntu, scripts/setup-linux.sh installs it.")
    endif()
    set(CMAKE_TOOLCHAIN_FILE "${IOCP_ROOT}/cmake/mingw-w64.cmake" CACHE FILEPATH "Builds Windows programs on Linux")
endif()

# CMake looks for `--toolchain cmake/mingw-w64.cmake` in the stage's own folder only.
if(CMAKE_TOOLCHAIN_FILE AND EXISTS "${IOCP_ROOT}/${CMAKE_TOOLCHAIN_FILE}")
    set(CMAKE_TOOLCHAIN_FILE "${IOCP_ROOT}/${CMAKE_TOOLCHAIN_FILE}" CACHE FILEPATH "" FORCE)
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release")
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
option(IOCP_WARNINGS_AS_ERRORS "A warning ends the build; CI turns this on" OFF)
set(IOCP_MINE "" CACHE PATH "A folder of your own, laid out like this repository; its files take the place of ours")

# What every program here is compiled and linked with: iocp-settings. A function, because a target can be made only
# after project().
function(define_iocp_settings)
    if(TARGET iocp-settings)
        return()
    endif()
    add_library(iocp-settings INTERFACE)
    target_compile_features(iocp-settings INTERFACE cxx_std_20)
    # In this order: a reader's 03-recv/receive.hpp is found before the one of the repository.
    target_include_directories(iocp-settings INTERFACE ${IOCP_MINE} "${IOCP_ROOT}")
    target_compile_definitions(iocp-settings INTERFACE NOMINMAX WIN32_LEAN_AND_MEAN _WIN32_WINNT=0x0A00)
    target_link_libraries(iocp-settings INTERFACE ws2_32 mswsock)
    if(MSVC)
        target_compile_options(iocp-settings INTERFACE /W4 /permissive- /utf-8 $<$<BOOL:${IOCP_WARNINGS_AS_ERRORS}>:/WX>)
    else()
        target_compile_options(iocp-settings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                               $<$<BOOL:${IOCP_WARNINGS_AS_ERRORS}>:-Werror>)
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            # GCC 12 and 13 see an overlap in std::string's operator+ that is not there (GCC bug 105329).
            target_compile_options(iocp-settings INTERFACE -Wno-restrict)
        endif()
        if(IOCP_MINE) # a body that is still to be written uses none of its parameters
            target_compile_options(iocp-settings INTERFACE -Wno-unused-parameter)
        endif()
        # A program that needs no MinGW DLL runs wherever it is copied.
        target_link_options(iocp-settings INTERFACE -static)
    endif()
endfunction()

# add_stage(NAME SOURCES...) makes the program of one stage; NAME is its folder's name.
function(add_stage NAME)
    define_iocp_settings()
    set(sources)
    foreach(source IN LISTS ARGN)
        if(IOCP_MINE AND EXISTS "${IOCP_MINE}/${NAME}/${source}")
            set(source "${IOCP_MINE}/${NAME}/${source}")
        endif()
        list(APPEND sources ${source})
    endforeach()
    add_executable(${NAME} ${sources})
    target_link_libraries(${NAME} PRIVATE iocp-settings)
endfunction()
