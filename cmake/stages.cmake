# add_stage(), and the settings that all programs here share. Include it before project(): on Linux it picks the
# compiler, so that `cmake -S 03-recv -B build/03-recv` is enough there too.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH IOCP_ROOT)
include("${IOCP_ROOT}/cmake/glob.cmake")

set(IOCP_STRICT "" CACHE STRING "address or thread: builds for the strict Windows (tests/strict), with that sanitizer")

if(CMAKE_HOST_UNIX AND NOT IOCP_STRICT AND NOT CMAKE_TOOLCHAIN_FILE AND NOT DEFINED ENV{CMAKE_TOOLCHAIN_FILE})
    set(CMAKE_TOOLCHAIN_FILE "${IOCP_ROOT}/cmake/mingw-w64.cmake" CACHE FILEPATH "Builds Windows programs on Linux")
endif()

# CMake looks for `--toolchain cmake/mingw-w64.cmake` in the stage's own folder only.
if(CMAKE_TOOLCHAIN_FILE AND EXISTS "${IOCP_ROOT}/${CMAKE_TOOLCHAIN_FILE}")
    set(CMAKE_TOOLCHAIN_FILE "${IOCP_ROOT}/${CMAKE_TOOLCHAIN_FILE}" CACHE FILEPATH "" FORCE)
endif()

# The presets for Windows name a compiler without its folder: it must be on the path.
if(CMAKE_HOST_WIN32 AND CMAKE_CXX_COMPILER MATCHES "^[^/\\\\]+$" AND NOT CMAKE_GENERATOR MATCHES "Visual Studio")
    find_program(IOCP_COMPILER_ON_PATH "${CMAKE_CXX_COMPILER}" NO_CACHE)
    if(NOT IOCP_COMPILER_ON_PATH)
        message(FATAL_ERROR "There is no ${CMAKE_CXX_COMPILER} on the path: for cl and clang-cl open 'x64 Native Tools "
                            "Command Prompt for VS', for g++ put the bin folder of MinGW-w64 on the path.")
    endif()
endif()

# With MSVC too, a program that needs no DLL of the compiler runs wherever it is copied. Libraries whose own CMake is
# older than this variable heed it as well.
set(CMAKE_MSVC_RUNTIME_LIBRARY "MultiThreaded$<$<CONFIG:Debug>:Debug>")
set(CMAKE_POLICY_DEFAULT_CMP0091 NEW)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release")
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
option(IOCP_WARNINGS_AS_ERRORS "A warning ends the build; CI turns this on" OFF)
set(IOCP_MINE "" CACHE STRING "A folder of your own, laid out like this repository; its files take the place of ours")
set(IOCP_ARCHITECTURE "" CACHE STRING "x64, x86 or ARM64: another compiler from Microsoft ends the configuration")

if(IOCP_MINE)
    file(TO_CMAKE_PATH "${IOCP_MINE}" IOCP_MINE)
    cmake_path(ABSOLUTE_PATH IOCP_MINE BASE_DIRECTORY "${IOCP_ROOT}" NORMALIZE)
    glob(mine "${IOCP_MINE}" 0[1-6]-*)
    if(NOT mine)
        message(FATAL_ERROR "IOCP_MINE names ${IOCP_MINE}, and no folder there is called like a stage (03-recv).")
    endif()
    list(JOIN mine ", " mine)
    if(CMAKE_CURRENT_SOURCE_DIR STREQUAL CMAKE_SOURCE_DIR)
        message(STATUS "Yours, from ${IOCP_MINE}: ${mine}")
    endif()
endif()

# Called after project(), when the compiler is known.
function(check_compiler)
    foreach(least IN ITEMS "GNU 12" "Clang 16" "MSVC 19.30")
        string(REPLACE " " ";" least "${least}")
        list(POP_FRONT least id)
        if(CMAKE_CXX_COMPILER_ID STREQUAL id AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS least)
            message(FATAL_ERROR "This compiler is ${id} ${CMAKE_CXX_COMPILER_VERSION}, and ${least} or newer is needed.")
        endif()
    endforeach()
    if(IOCP_ARCHITECTURE AND MSVC AND NOT CMAKE_CXX_COMPILER_ARCHITECTURE_ID STREQUAL IOCP_ARCHITECTURE)
        message(FATAL_ERROR "This preset is for ${IOCP_ARCHITECTURE}, and the compiler of this prompt builds for "
                            "${CMAKE_CXX_COMPILER_ARCHITECTURE_ID}: open '${IOCP_ARCHITECTURE} Native Tools Command "
                            "Prompt for VS' instead.")
    endif()
endfunction()

# The strict Windows takes the place of Windows' headers and libraries; the programs are Linux' own.
function(use_strict_windows)
    glob(strict "${IOCP_ROOT}" tests/strict/*.cpp)
    list(TRANSFORM strict PREPEND "${IOCP_ROOT}/")
    add_library(strict STATIC ${strict})
    target_compile_features(strict PUBLIC cxx_std_20)
    target_include_directories(strict SYSTEM PUBLIC "${IOCP_ROOT}/tests/strict/include")
    set(sanitizers ${IOCP_STRICT})
    if(IOCP_STRICT STREQUAL "address")
        set(sanitizers "address,undefined")
    endif()
    target_compile_options(strict PUBLIC -g -Wall -Wextra $<$<BOOL:${IOCP_WARNINGS_AS_ERRORS}>:-Werror>
                                         -fsanitize=${sanitizers} -fno-sanitize-recover=all
                                         "-ffile-prefix-map=${IOCP_ROOT}/="
                                         $<$<BOOL:${IOCP_MINE}>:-ffile-prefix-map=${IOCP_MINE}/=>)
    target_link_options(strict PUBLIC -fsanitize=${sanitizers})
    target_link_libraries(iocp-settings INTERFACE strict)
endfunction()

# What every program here is compiled and linked with: iocp-settings. A function, because a target can be made only
# after project().
function(define_iocp_settings)
    if(TARGET iocp-settings)
        return()
    endif()
    check_compiler()
    add_library(iocp-settings INTERFACE)
    target_compile_features(iocp-settings INTERFACE cxx_std_20)
    # In this order: a reader's 03-recv/receive.hpp is found before the one of the repository.
    target_include_directories(iocp-settings INTERFACE ${IOCP_MINE} "${IOCP_ROOT}")
    target_compile_definitions(iocp-settings INTERFACE NOMINMAX WIN32_LEAN_AND_MEAN _WIN32_WINNT=0x0A00)
    if(IOCP_STRICT)
        use_strict_windows()
        return()
    endif()
    target_sources(iocp-settings INTERFACE "${IOCP_ROOT}/cmake/no-dialogs.cpp")
    target_link_libraries(iocp-settings INTERFACE ws2_32 mswsock)
    # A body that is still to be written uses none of its parameters.
    set(unused $<$<BOOL:${IOCP_MINE}>:$<IF:$<BOOL:${MSVC}>,/wd4100,-Wno-unused-parameter>>)
    if(MSVC)
        target_compile_options(iocp-settings INTERFACE /W4 /permissive- /utf-8 $<$<BOOL:${IOCP_WARNINGS_AS_ERRORS}>:/WX>
                                                       ${unused})
    else()
        target_compile_options(iocp-settings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                               $<$<BOOL:${IOCP_WARNINGS_AS_ERRORS}>:-Werror> ${unused})
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            # GCC 12 and 13 see an overlap in std::string's operator+ that is not there (GCC bug 105329).
            target_compile_options(iocp-settings INTERFACE -Wno-restrict)
        else()
            # Part of clang's -Wconversion, not of GCC's; MinGW-w64's macros (FIONBIO) do not stand it.
            target_compile_options(iocp-settings INTERFACE -Wno-sign-conversion)
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
