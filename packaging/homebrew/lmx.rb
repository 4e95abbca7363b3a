# Formula for a tap. Not published: url and sha256 are those of a release that does not exist yet (see packaging/README.md).
class Lmx < Formula
  include Language::Python::Virtualenv

  desc "MLX models behind OpenAI routes, managed from the terminal"
  homepage "https://pypi.org/project/lmx/"
  url "https://files.pythonhosted.org/packages/source/l/lmx/lmx-VERSION.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "MIT"

  depends_on arch: :arm64
  depends_on :macos
  depends_on "python@3.13"

  def install
    # MLX has wheels only, so pip resolves the dependencies, at the versions that constraints.txt of the sdist pins.
    venv = virtualenv_create(libexec, "python3.13", without_pip: false)
    system libexec/"bin/python", "-m", "pip", "install", "--no-input", "-c", "constraints.txt", buildpath
    bin.install_symlink venv.root/"bin/lmx"
    generate_completions_from_executable(bin/"lmx", "completion", shells: [:bash, :zsh, :fish])
  end

  def caveats
    <<~EOS
      To run the daemon at each login, and again after a crash:
        lmx service install
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/lmx --version")
    ENV["LMX_HOME"] = testpath
    assert_match "lmx is not running", shell_output("#{bin}/lmx status", 3)
  end
end
