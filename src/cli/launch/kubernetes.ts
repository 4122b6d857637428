import { randomBytes } from 'node:crypto';
import { TrainyardError } from '../../base/errors.js';
import { HOST_VARIABLES } from '../../launch/host-environment.js';
import { type ClusterJob, demandJobName } from './job.js';
import { type YamlValue, yamlDocuments } from './yaml.js';

const PORT = 29_500;
const HOSTS = 'hosts';
const RESTART_LABEL = 'jobset.sigs.k8s.io/restart-attempt';

/**
 * A manifest for Kubernetes with JobSet (jobset.sigs.k8s.io): a pod is a host, whose supervisor starts its ranks; they meet
 * in the first pod. The run's secret is a Secret, made anew with every manifest.
 *
 * @param image a container image that has `trainyard` and, at the path of the configuration, the configuration
 */
export function kubernetesManifest(job: ClusterJob, image: string | undefined): string {
  demandJobName(job.name);
  if (image === undefined) {
    throw new TrainyardError('USAGE', {
      what: 'Kubernetes needs a container image.',
      cure: 'name one that has trainyard, its configuration and its data with --image',
    });
  }
  const secret = `${job.name}-run`;
  return yamlDocuments([
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: secret },
      stringData: { run: randomBytes(16).toString('hex') },
    },
    {
      apiVersion: 'jobset.x-k8s.io/v1alpha2',
      kind: 'JobSet',
      metadata: { name: job.name },
      spec: {
        failurePolicy: { maxRestarts: 3 },
        replicatedJobs: [
          {
            name: HOSTS,
            replicas: 1,
            template: {
              spec: {
                parallelism: job.hosts,
                completions: job.hosts,
                completionMode: 'Indexed',
                backoffLimit: 0,
                template: { spec: podSpec(job, image, secret) },
              },
            },
          },
        ],
      },
    },
  ]);
}

function podSpec(job: ClusterJob, image: string, secret: string): YamlValue {
  const { gpusPerHost } = job;
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 120,
    containers: [
      {
        name: 'trainyard',
        image,
        command: ['trainyard', ...job.arguments].map(unexpanded),
        ports: [{ containerPort: PORT }],
        env: variables(job, secret),
        ...(gpusPerHost !== undefined && { resources: { limits: { 'nvidia.com/gpu': gpusPerHost } } }),
        volumeMounts: [{ name: 'shared-memory', mountPath: '/dev/shm' }],
      },
    ],
    volumes: [{ name: 'shared-memory', emptyDir: { medium: 'Memory' } }],
  };
}

function variables({ name, hosts, ranksPerHost }: ClusterJob, secret: string): YamlValue {
  return [
    { name: HOST_VARIABLES.hosts, value: String(hosts) },
    { name: HOST_VARIABLES.ranksPerHost, value: String(ranksPerHost) },
    // JobSet's name for the first pod, in the service that it makes.
    { name: 'MASTER_ADDR', value: `${name}-${HOSTS}-0-0.${name}` },
    { name: 'MASTER_PORT', value: String(PORT) },
    { name: 'TRAINYARD_RUN_ID', valueFrom: { secretKeyRef: { name: secret, key: 'run' } } },
    {
      name: HOST_VARIABLES.attempt,
      valueFrom: { fieldRef: { fieldPath: `metadata.labels['${RESTART_LABEL}']` } },
    },
  ];
}

/** Kubernetes puts variables in for $(NAME), and takes $$ for a dollar. */
function unexpanded(word: string): string {
  return word.replaceAll('$', '$$$$');
}
