# What start.cmake, check.cmake and hint.cmake ask first: `root`, the repository; `stage`, the folder that STAGE means; and MINE, the
# folder of what you write, mine/ if none is named.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
include("${root}/cmake/glob.cmake")

glob(stage "${root}" "${STAGE}-*")
if(NOT STAGE MATCHES "^0[1-6]$" OR NOT stage)
    message(FATAL_ERROR "There is no stage '${STAGE}': two digits, please, 01 to 06.")
endif()
if(NOT MINE)
    set(MINE mine)
endif()
cmake_path(ABSOLUTE_PATH MINE BASE_DIRECTORY "${root}" NORMALIZE)

# Sets VARIABLE to the text without what only start.cmake and the notes' excerpts need.
function(without_marks VARIABLE TEXT)
    string(REGEX REPLACE "\n *//[]?[][^\n]*" "" TEXT "${TEXT}")
    string(REPLACE "#include \"cmake/todo.hpp\"\n" "" TEXT "${TEXT}")
    set(${VARIABLE} "${TEXT}" PARENT_SCOPE)
endfunction()
