"""A host of the Conan package, which `conan create . -tf packaging/conan_test` builds and runs."""

from pathlib import Path

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, cmake_layout


class Host(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "CMakeToolchain", "VirtualRunEnv"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        # Not beside the sources, which tests of all folders look at.
        cmake_layout(self, build_folder="../../build/conan_test")

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        if can_run(self):
            demo = Path(self.recipe_folder).parents[1] / "models/demo"
            app = Path(self.build_folder) / self.cpp.build.bindir / "app"
            self.run(f"{app} {demo}/scenes.lcw {demo}/pictures/room.png", env="conanrun")
