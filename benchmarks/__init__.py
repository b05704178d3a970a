"""Every claim of speed, memory and coverage, each as a command: ``python -m benchmarks.NAME``, ``--help`` says more.

=====================  =============================================================================================
``run``                all that ``make bench`` measures: ``engine``, ``radii``, ``slices``, ``curvature`` and
                       ``curvature_limits``; writes docs/benchmarks.md
``engine``             evaluations of the loss: time beyond the forward pass, memory
``radii``              evaluations per radius, next to other searches
``slices``             a plane of losses, next to other ways to measure it
``curvature``          products, traces and eigenpairs, next to other packages
``curvature_limits``   the least time of a curvature product, and the variance of its probes
``known_bodies``       volumes of bodies of known volume, and how often the verdict is right
``known_bodies_page``  writes their section of docs/benchmarks.md
``volume_cost``        what a volume costs against n: passes, seconds and memory until a verdict; writes its section
``nets_volume``        volumes of good and bad minima within a budget, at a resolution
``recipes``            trains the families of docs/training.md
``real_checkpoints``   doctor and volume on published networks (``make real-checkpoints``)
``difference_errors``  how often the stated error of products by differences holds
``noise_errors``       how often the stated errors of measures of random noise hold
``same_numbers``       shows that a change of the code leaves every number as it was
``two_hosts``          annealed islands on two hosts give the bytes of one process
=====================  =============================================================================================

The other files serve these: ``page`` and ``rows`` (what is printed and kept), ``timing`` and ``workers`` (paired
timings in this process and in others), ``calibration`` and ``calibration_tables`` (the runs of ``known_bodies``),
``bodies``, ``nets``, ``resnet_cifar`` and ``small_cnn`` (what is measured), and ``curvature_peers`` (the other
packages).
"""
