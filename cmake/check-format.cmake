# cmake -DCLANG_FORMAT=... -P check-format.cmake: fails where a source is not formatted as .clang-format says. Only with
# version 14, Debian 12's: each version formats a little differently.
if(NOT CLANG_FORMAT)
    message("skipped: clang-format is not installed")
    return()
endif()
execute_process(COMMAND "${CLANG_FORMAT}" --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
if(NOT version MATCHES "version 14\\.")
    string(STRIP "${version}" version)
    message("skipped: this is ${version}, and the sources are formatted with version 14")
    return()
endif()

cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
file(GLOB_RECURSE sources "${root}/[0-9][0-9]-*/*.hpp" "${root}/[0-9][0-9]-*/*.cpp"
                          "${root}/tests/*.hpp" "${root}/tests/*.cpp")
execute_process(COMMAND "${CLANG_FORMAT}" --dry-run -Werror ${sources} RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "To put it right: clang-format -i FILE...")
endif()
