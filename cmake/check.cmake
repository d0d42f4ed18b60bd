# Runs the tests of a stage on your code: `cmake -D STAGE=03 -P cmake/check.cmake` builds mine/03-recv in place of the
# original, and stops at the first test that fails. The targets check-01 to check-06 run this; besides it takes
#   -D ALL=ON          all tests of the stage
#   -D UPWARD=ON       those of every later stage too, on your stage
#   -D EXERCISE=4      the test of exercise 4 of the stage's note instead
#   -D PROGRAM=x.exe   any program that keeps the promises of the stage, in place of yours
#   -D PRESET=msvc     a preset of the whole; `strict` is the strict Windows, on Linux
#   -D MINE=folder     another folder than mine/
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/mine.cmake")
if(NOT PRESET)
    set(PRESET linux-wine)
    if(CMAKE_HOST_WIN32)
        set(PRESET msvc)
    endif()
endif()

function(run)
    execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${root}" RESULT_VARIABLE result)
    if(result)
        message(FATAL_ERROR "")
    endif()
endfunction()

set(tests stage-${STAGE}-tests)
set(labels stage-${STAGE})
set(order --stop-on-failure) # one after the other, in the order of the tests' file
if(ALL OR UPWARD OR EXERCISE OR PROGRAM)
    set(order -j 4)
endif()
if(UPWARD)
    foreach(later RANGE 1 6)
        if("0${later}" STRGREATER STAGE)
            list(APPEND tests stage-0${later}-tests)
            string(APPEND labels "|stage-0${later}")
        endif()
    endforeach()
elseif(EXERCISE)
    set(tests exercise-${STAGE}-${EXERCISE}-tests)
    set(labels exercise-${STAGE}-${EXERCISE})
    if(NOT EXISTS "${root}/tests/exercises/${STAGE}-${EXERCISE}.cpp")
        message(FATAL_ERROR "There is no ${STAGE}-${EXERCISE}.cpp in tests/exercises/: that exercise has no test of its own.")
    endif()
endif()
if(PROGRAM)
    cmake_path(ABSOLUTE_PATH PROGRAM BASE_DIRECTORY "${root}" NORMALIZE)
    if(NOT EXISTS "${PROGRAM}")
        message(FATAL_ERROR "There is no program ${PROGRAM}.")
    endif()
    set(build "${root}/build/${PRESET}")
    if(PRESET MATCHES "wine")
        set(PROGRAM "Z:${PROGRAM}") # Z: is Linux' / under Wine
    endif()
    set(ENV{IOCP_STAGE_PROGRAM} "${PROGRAM}")
    set(mine)
else()
    if(NOT EXISTS "${MINE}/${stage}")
        message(FATAL_ERROR "There is no ${MINE}/${stage} yet: the target start-${STAGE} makes it.")
    endif()
    # Built apart, with this stage yours and nothing else that lies beside it: what the build sees is a folder of files that
    # include yours.
    set(build "${root}/build/mine/${PRESET}/${stage}")
    set(view "${build}-view")
    glob(files "${MINE}/${stage}" *.hpp *.cpp)
    glob(seen "${view}/${stage}" *)
    if(NOT files STREQUAL seen)
        file(REMOVE_RECURSE "${view}")
        # What was built knows nothing of a file that takes the place of one of ours.
        glob(objects "${build}" RECURSE ${stage}/*.obj ${stage}/*.o tests/*.obj tests/*.o)
        foreach(object IN LISTS objects)
            file(REMOVE "${build}/${object}")
        endforeach()
    endif()
    foreach(file IN LISTS files)
        file(CONFIGURE OUTPUT "${view}/${stage}/${file}" CONTENT "#include \"${MINE}/${stage}/${file}\"\n") # if it differs
    endforeach()
    set(mine -D "IOCP_MINE=${view}" -D IOCP_EXERCISES=ON)
endif()

if(NOT EXISTS "${build}/CMakeCache.txt")
    message("The first build makes the tests too: that takes a minute or two.")
endif()
run("${CMAKE_COMMAND}" --preset ${PRESET} -B "${build}" ${mine} --log-level=WARNING)
run("${CMAKE_COMMAND}" --build "${build}" --target ${tests})
execute_process(COMMAND "${CMAKE_CTEST_COMMAND}" --test-dir "${build}" --output-on-failure ${order} -L "${labels}" -LE native
                WORKING_DIRECTORY "${root}" RESULT_VARIABLE result OUTPUT_VARIABLE output ECHO_OUTPUT_VARIABLE)
if(result AND order STREQUAL "--stop-on-failure")
    execute_process(COMMAND "${CMAKE_CTEST_COMMAND}" --test-dir "${build}" -N -L "${labels}" -LE native OUTPUT_VARIABLE list)
    string(REGEX REPLACE ".*Total Tests: ([0-9]+).*" "\\1" total "${list}")
    string(REGEX REPLACE ".* failed out of ([0-9]+).*" "\\1" ran "${output}")
    math(EXPR waiting "${total} - ${ran}")
    message(FATAL_ERROR "This is the first test that fails; ${waiting} more wait behind it. ALL=ON runs them too.")
elseif(result)
    message(FATAL_ERROR "Begin with the test that is nearest to what you wrote; the line Rerun in its text runs it alone.")
elseif(mine AND NOT EXERCISE)
    message("All green. What you do otherwise than the original:")
    foreach(file IN LISTS files)
        if(EXISTS "${root}/${stage}/${file}")
            execute_process(COMMAND git --no-pager diff --no-index --no-prefix -I "^ *//[]?[]" "${stage}/${file}"
                                    "${MINE}/${stage}/${file}"
                            WORKING_DIRECTORY "${root}" RESULT_VARIABLE ignored)
        endif()
    endforeach()
endif()
