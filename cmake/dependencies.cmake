# GoogleTest, doctest, CLI11 and spdlog. Each comes from where it is found first: Debian's package, an installed CMake
# package (vcpkg), a download of a pinned release. Call use_googletest(), use_doctest(), use_cli11() or use_spdlog() where
# one is needed.
include(FetchContent)

# GTest::gtest and GTest::gtest_main. Debian ships the source in /usr/src, so it builds for Windows too.
macro(use_googletest)
    if(CMAKE_HOST_UNIX AND EXISTS /usr/src/googletest/CMakeLists.txt)
        set(FETCHCONTENT_SOURCE_DIR_GOOGLETEST /usr/src/googletest)
    endif()
    set(BUILD_GMOCK OFF)
    set(INSTALL_GTEST OFF)
    set(gtest_force_shared_crt OFF)
    FetchContent_Declare(googletest
        URL https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
        URL_HASH SHA256=8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7
        DOWNLOAD_EXTRACT_TIMESTAMP ON
        FIND_PACKAGE_ARGS NAMES GTest)
    FetchContent_MakeAvailable(googletest)
    # With MSVC its own build takes warnings for errors, and a newer compiler warns of more.
    foreach(library IN ITEMS gtest gtest_main)
        if(MSVC AND TARGET ${library})
            target_compile_options(${library} PRIVATE /WX-)
        endif()
    endforeach()
endmacro()

# doctest::doctest, as <doctest/doctest.h>
macro(use_doctest)
    use_header_library(doctest::doctest doctest doctest .
        https://github.com/doctest/doctest/archive/refs/tags/v2.4.11.tar.gz
        632ed2c05a7f53fa961381497bf8069093f0d6628c5f26286161fbd32a560186)
endmacro()

# CLI11::CLI11, as <CLI/CLI.hpp>
macro(use_cli11)
    use_header_library(CLI11::CLI11 CLI11 CLI include
        https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz
        f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
endmacro()

# spdlog::spdlog_header_only, as <spdlog/...>. The download brings a copy of fmt, Debian's package does not.
macro(use_spdlog)
    use_header_library(spdlog::spdlog_header_only spdlog "spdlog;fmt" include
        https://github.com/gabime/spdlog/archive/refs/tags/v1.15.3.tar.gz
        15a04e69c222eb6c01094b5c7ff8a249b36bb22788d72519646fb85feb267e67)
    if(TARGET spdlog-headers AND EXISTS "${CMAKE_BINARY_DIR}/_deps/spdlog-debian/fmt")
        target_compile_definitions(spdlog-headers INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
    endif()
endmacro()

# Makes TARGET from a library of headers only: from /usr/include/FOLDER, the CMake package PACKAGE, or SUBFOLDER of the
# download. FOLDER may be a list, of its own and those that it needs.
function(use_header_library TARGET PACKAGE FOLDER SUBFOLDER URL SHA256)
    string(TOLOWER ${PACKAGE} name)
    list(TRANSFORM FOLDER PREPEND /usr/include/ OUTPUT_VARIABLE installed)
    set(is_installed ${CMAKE_HOST_UNIX})
    foreach(folder IN LISTS installed)
        if(NOT EXISTS "${folder}")
            set(is_installed FALSE)
        endif()
    endforeach()
    if(is_installed)
        # Copied, because /usr/include itself on MinGW's search path would put Linux's <stdlib.h> before Windows' own.
        set(headers "${CMAKE_BINARY_DIR}/_deps/${name}-debian")
        file(COPY ${installed} DESTINATION "${headers}")
    else()
        # SOURCE_SUBDIR names a folder that does not exist: only the headers are wanted, not the library's own build.
        FetchContent_Declare(${name} URL ${URL} URL_HASH SHA256=${SHA256} DOWNLOAD_EXTRACT_TIMESTAMP ON
                             SOURCE_SUBDIR headers-only FIND_PACKAGE_ARGS NAMES ${PACKAGE} GLOBAL)
        FetchContent_MakeAvailable(${name})
        set(headers "${${name}_SOURCE_DIR}/${SUBFOLDER}")
    endif()
    if(NOT TARGET ${TARGET})
        add_library(${name}-headers INTERFACE)
        target_include_directories(${name}-headers SYSTEM INTERFACE "${headers}")
        add_library(${TARGET} ALIAS ${name}-headers)
    endif()
endfunction()
