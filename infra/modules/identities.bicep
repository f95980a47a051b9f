// Four identities, none of which is enough to read a value, or to destroy vaults and backups together.
param location string
param tags object
param token string

var parts = ['host', 'backup', 'restore', 'prune']

resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = [for part in parts: {
  name: 'id-${token}-${part}'
  location: location
  tags: tags
}]

// In the order of parts.
output host object = {
  id: identities[0].id
  clientId: identities[0].properties.clientId
  principalId: identities[0].properties.principalId
}
output backup object = {
  id: identities[1].id
  clientId: identities[1].properties.clientId
  principalId: identities[1].properties.principalId
}
output restore object = {
  id: identities[2].id
  clientId: identities[2].properties.clientId
  principalId: identities[2].properties.principalId
}
output prune object = {
  id: identities[3].id
  clientId: identities[3].properties.clientId
  principalId: identities[3].properties.principalId
}
