"""The Conan package: `conan create . --build=missing -s "lightcap/*:compiler.cppstd=20"`, whatever its hosts' standard.

xsimd and stb are headers that nobody sees who links LightCap. With `system_headers=True` they are the system's
(Debian: libxsimd-dev, libstb-dev), so that nothing is fetched.
"""

import re
from pathlib import Path

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class LightCap(ConanFile):
    name = "lightcap"
    description = "Captions for images on any CPU: a hand-written C++ engine with a C API"
    license = "Apache-2.0"
    topics = ("image-captioning", "inference", "simd")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], "system_headers": [True, False]}
    default_options = {"shared": False, "fPIC": True, "system_headers": False}
    exports_sources = ("CMakeLists.txt", "LICENSE", "THIRD-PARTY-LICENSES", "api/*", "cmake/*", "engine/*", "kernels/*",
                       "models/*.cc", "models/*.h", "models/CMakeLists.txt")  # fmt: skip
    implements = ["auto_shared_fpic"]

    def set_version(self):
        lists = (Path(self.recipe_folder) / "CMakeLists.txt").read_text()
        self.version = re.search(r"project\(lightcap VERSION ([0-9.]+)", lists)[1]

    def validate(self):
        if self.settings.get_safe("compiler.cppstd"):
            check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        if not self.options.system_headers:
            self.requires("xsimd/[>=8.1 <15]", visible=False)
            self.requires("stb/[*]", visible=False)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["LIGHTCAP_BUILD_TOOLS"] = False
        if not self.options.system_headers:
            stb = self.dependencies["stb"].cpp_info.includedirs[0]
            toolchain.cache_variables["LIGHTCAP_STB_INCLUDE_DIR"] = stb
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        for name in ("LICENSE", "THIRD-PARTY-LICENSES"):
            copy(self, name, self.source_folder, str(Path(self.package_folder) / "licenses"))

    def package_info(self):
        self.cpp_info.libs = ["lightcap"]
        self.cpp_info.set_property("cmake_file_name", "lightcap")
        self.cpp_info.set_property("cmake_target_name", "lightcap::lightcap")
        self.cpp_info.set_property("pkg_config_name", "lightcap")
        if not self.options.shared and self.settings.os == "Linux":
            self.cpp_info.system_libs = ["pthread", "stdc++", "m"]
