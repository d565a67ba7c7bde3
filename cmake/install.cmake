# Installing, uninstalling, and the Debian package.

# What the program says of itself: its man page and the completion of shells.
set(pages ${CMAKE_BINARY_DIR}/pages)
add_custom_command(
  OUTPUT ${pages}/lacuna.1 ${pages}/lacuna ${pages}/_lacuna ${pages}/lacuna.fish
  COMMAND ${CMAKE_COMMAND} -D PROGRAM=$<TARGET_FILE:lacuna> -D PAGES=${pages} -P ${CMAKE_SOURCE_DIR}/cmake/pages.cmake
  DEPENDS lacuna cmake/pages.cmake
  VERBATIM)
add_custom_target(pages ALL DEPENDS ${pages}/lacuna.1)

install(DIRECTORY recipes/ DESTINATION ${CMAKE_INSTALL_DATADIR}/lacuna/recipes FILES_MATCHING PATTERN "*.yaml")
install(FILES ${pages}/lacuna.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${pages}/lacuna DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${pages}/lacuna.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Debian's zsh looks for what packages bring in another folder than for what is under /usr/local.
install(CODE "
  set(zsh site-functions)
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
    set(zsh vendor-completions)
  endif()
  file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/zsh/\${zsh}\" TYPE FILE FILES \"${pages}/_lacuna\")")

# `cmake --build build --target uninstall` removes what the last installation put in place.
add_custom_target(uninstall COMMAND ${CMAKE_COMMAND} -D MANIFEST=${CMAKE_BINARY_DIR}/install_manifest.txt -P
                                    ${CMAKE_SOURCE_DIR}/cmake/uninstall.cmake)

# `cpack -G DEB` in the build folder.
set(CPACK_PACKAGE_NAME lacuna)
set(CPACK_PACKAGE_VENDOR lacuna)
set(CPACK_PACKAGE_CONTACT "lacuna maintainers <maintainers@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pre-train vision backbones by masked image modelling")
set(CPACK_PACKAGE_DESCRIPTION
    "lacuna hides most of each picture and lets a vision transformer guess what is missing (MAE, DeepMIM). It is one program with an engine of its own and needs no Python.")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR DEB)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# dpkg-shlibdeps (dpkg-dev) finds the packages of the libraries; without it those of Debian 12 are named.
find_program(DPKG_SHLIBDEPS dpkg-shlibdeps)
if(DPKG_SHLIBDEPS)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
else()
  set(CPACK_DEBIAN_PACKAGE_DEPENDS
      "libc6 (>= 2.36), libgomp1, libjansson4, libjpeg62-turbo, libpng16-16, libtiff6, libwebp7, libyaml-0-2, zlib1g")
  if(TARGET ranks_mpi)
    string(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS ", libopenmpi3")
  endif()
endif()
if(TARGET ranks_mpi)
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS openmpi-bin)
endif()
include(CPack)
